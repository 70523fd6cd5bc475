"""The experiments that the DeepPrivacy3 proposal describes, as things to run."""
