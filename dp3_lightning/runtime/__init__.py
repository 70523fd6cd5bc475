"""What the process runs in: files, threads, allocator, and packages that need help to load."""
