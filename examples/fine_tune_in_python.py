"""Fine-tune the face prior in Python, without YAML.

Run it with: python -m examples.fine_tune_in_python
It takes a sample clip and about a minute; configs/finetune.yaml has the settings of a serious run.
"""

from pathlib import Path

import dp3_lightning  # noqa: F401  # before Lightning: it mends a torchvision that cannot load

# isort: split
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from dp3_lightning.callbacks import (
    FlowConsistencyLoss,
    LatentAnchorLoss,
    LossCallback,
    PixelLoss,
    TotalVariationLoss,
)
from dp3_lightning.data import VideoClipDataModule
from dp3_lightning.discriminators import DiscriminatorAdapter
from dp3_lightning.generators import FacePriorGenerator
from dp3_lightning.modules import VideoFineTuner


def fit(
    tuner: VideoFineTuner,
    data: LightningDataModule,
    losses: list[LossCallback],
    folder: Path,
    updates: int,
) -> Path:
    """Train for some generator updates and return the last checkpoint."""
    checkpoints = ModelCheckpoint(dirpath=folder / "checkpoints", save_last=True)
    trainer = Trainer(
        default_root_dir=folder,
        max_steps=updates,
        accelerator="auto",
        devices=1,
        val_check_interval=updates,  # measure held-out clips at the end
        check_val_every_n_epoch=None,
        callbacks=[*losses, checkpoints],
        logger=False,
    )
    trainer.fit(tuner, data)
    for name, value in sorted(trainer.callback_metrics.items()):
        print(f"{name:40} {float(value):.4g}")
    return Path(checkpoints.last_model_path)


def main() -> None:
    """Fine-tune the face prior's context encoder on a sample clip."""
    tuner = VideoFineTuner(
        FacePriorGenerator(image_size=128),
        DiscriminatorAdapter("small128"),
        generator_lr=0.0002,
        adversarial_weight=0.02,  # so few updates are too few for a GAN; the other terms lead
        trainable="encoder",
    )
    data = VideoClipDataModule(
        "carphone", clip_length=4, batch_size=1, landmarks=True, split_by="time", val_fraction=0.2
    )
    losses: list[LossCallback] = [
        TotalVariationLoss(weight=0.05),
        PixelLoss(weight=2.0, loss="mae", mode="ring+low"),
        FlowConsistencyLoss(weight=1.0),
        LatentAnchorLoss(weight=3.0),
    ]
    checkpoint = fit(tuner, data, losses, Path("runs/fine_tune_in_python"), updates=60)
    print(f"Draw with it: dp3 anonymize carphone -o OUT.mp4 --generator {checkpoint}")


if __name__ == "__main__":
    main()
