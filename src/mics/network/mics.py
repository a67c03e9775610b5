"""MICS: the symmetric, multi-step, inverse-consistent registration network (Estienne et al., sections 3.1 to 3.3)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mics.deformation.field import Anchor, compose, integrate, resize
from mics.network.blocks import Convolution
from mics.network.pair import Prediction, RegistrationUNet, RegistrationUNetConfig, Step, initial_displacement


class MICSConfig(RegistrationUNetConfig):
    """Settings of :class:`MICS`."""

    kind: Literal["mics"] = "mics"
    anchor: Anchor = "line_mean"
    """Anchor of the integration of predicted gradients, see :func:`mics.deformation.field.integrate`."""


class MICS(RegistrationUNet):
    """The paper's network: it predicts the gradients of Φ, and the loss encourages inverse consistency."""

    config: MICSConfig

    def __init__(self, config: MICSConfig) -> None:
        super().__init__(config)
        self.gradient_head = Convolution(config.channels[0], 3)
        nn.init.normal_(self.gradient_head.weight, std=1e-3)
        if config.anchor == "line_mean":
            self.offset_head = nn.Conv3d(config.channels[-1], 3, 1, bias=False)
            nn.init.normal_(self.offset_head.weight, std=1e-3)

    def forward(self, a: Tensor, b: Tensor, *, steps: int = 2) -> Prediction:
        """Register two volumes in several steps.

        At step i each volume is warped from its original by the composition of the steps so far, in one interpolation;
        the features of the unwarped volumes are computed once and serve as targets at every step. Where no
        gradients are recorded, each direction is decoded after the other, which takes less memory.

        Args:
            a: ``(B, channels, X, Y, Z)`` in [0, 1], as :meth:`network_input` returns it: three HU windows, and organ maps if this
                network takes them. It is padded to extents that the levels divide.
            b: The other one, on the same grid.
            steps: At least one.

        Returns:
            Both deformations after every step.
        """
        originals = self.padded(a, b)
        unmoved = self.encode(originals, initial_displacement(steps, originals))
        results: list[Step] = []
        for _ in range(steps):
            total = results[-1].displacement.flatten(0, 1) if results else None
            gradients, displacement = self._step(originals, total, unmoved)
            if total is not None:
                displacement = compose(displacement, total)
            results.append(Step(gradients.unflatten(0, (2, -1)), displacement.unflatten(0, (2, -1))))
        return Prediction(tuple(results), tuple(originals.shape[2:]), tuple(a.shape[2:]))

    def _step(self, originals: Tensor, total: Tensor | None, unmoved: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What :meth:`decode` gives; in inference one direction after the other, because features take much memory."""
        count = originals.shape[0]
        if torch.is_grad_enabled():
            partners = [level.roll(count // 2, dims=0) for level in unmoved]
            return self.decode(self._differences(originals, total, unmoved, partners))
        parts = []
        for place in range(count):
            own, other = (slice(first, first + 1) for first in (place, (place + count // 2) % count))
            moved_by = None if total is None else total[own]
            features, partners = ([level[which] for level in unmoved] for which in (own, other))
            parts.append(self.decode(self._differences(originals[own], moved_by, features, partners)))
        gradients, displacements = zip(*parts, strict=True)
        return torch.cat(gradients), torch.cat(displacements)

    def _differences(
        self, originals: Tensor, total: Tensor | None, unmoved: list[Tensor], partners: list[Tensor]
    ) -> list[Tensor]:
        """Features of the ``originals`` warped by ``total``, or ``unmoved``, minus those of their ``partners`` as they are."""
        features = list(unmoved) if total is None else self.encode(originals, total)
        return [features.pop(0) - partner for partner in partners]  # either goes before the next difference comes

    def decode(self, differences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Feature differences to the gradients of Φ and the displacement that they integrate to.

        Args:
            differences: Of each level, finest first, ``(N, features, X, Y, Z)`` on that level's grid.

        Returns:
            The gradients, ``(N, 3, X, Y, Z)`` in (0, 2), those of each coordinate along its own axis, and the displacement,
            ``(N, 3, X, Y, Z)``, in voxels; both float32, on the finest level's grid.
        """
        decoded = self.decoder(differences)
        # A logit near zero is as exact in half precision as any other, 1 + derivative would not be: float32 from here on.
        logits = self.gradient_head(decoded[0]).float()
        with torch.autocast(logits.device.type, enabled=False):
            gradients = 2 * torch.sigmoid(logits)
            offset = None
            if self.config.anchor == "line_mean":
                # One unit of the head is one voxel of the level that it reads.
                coarse = nn.functional.conv3d(decoded[-1].float(), self.offset_head.weight.float())
                offset = resize(coarse, gradients.shape[2:]) * 2 ** (len(decoded) - 1)
            return gradients, integrate(gradients, anchor=self.config.anchor, offset=offset)
