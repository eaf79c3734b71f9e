"""pix2pixHD: street scenes from label maps; two generators, a discriminator on several scales. Source: [W18], FACTS section 3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.generators.checkpoint import load_weights
from pipeline.generators.layers import instance_norm, reflection_translator
from pipeline.generators.state_names import StateDict, block_indices, dimension, standard_names

LABELS = 35  # label ids 0..34 of Cityscapes
MOST_DOWNS = 8  # what a file may make us build before it is compared: 256 times smaller


class Pix2PixHDGenerator(nn.Module):
    """The global generator: planes (B, in_channels, H, W) of 0 and 1 (``label_planes``) to an image in [-1, 1] of that size.

    The defaults are the published net: 182,546,755 parameters in 56 keys. H and W are multiples of ``2 ** downs``.
    """

    def __init__(self, ngf: int = 64, *, in_channels: int = 36, out_channels: int = 3, downs: int = 4, blocks: int = 9) -> None:
        super().__init__()
        self.model = nn.Sequential(*reflection_translator(in_channels, out_channels, width=ngf, downs=downs, blocks=blocks))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The image, (B, out_channels, H, W)."""
        y_BCHW: Tensor = self.model(x_BCHW)
        return y_BCHW


class Pix2PixHDLocalEnhancer(nn.Module):
    """The global generator at half size (``enhancers`` times halved), refined at each full size: out = up(down(x) + coarser).

    Input and output as the global generator's. The defaults are the published net: 182,857,059 parameters in 74 keys. H and W are
    multiples of ``2 ** (downs + enhancers)``.
    """

    def __init__(
        self,
        ngf: int = 32,
        *,
        in_channels: int = 36,
        out_channels: int = 3,
        downs: int = 4,
        blocks: int = 9,
        enhancers: int = 1,
        local_blocks: int = 3,
    ) -> None:
        super().__init__()
        width = ngf * 2**enhancers
        whole = reflection_translator(in_channels, out_channels, width=width, downs=downs, blocks=blocks)
        self.model = nn.Sequential(*whole[:-3])
        self.enhancers = enhancers
        for n in range(1, enhancers + 1):
            width //= 2
            local = reflection_translator(in_channels, out_channels, width=width, downs=1, blocks=local_blocks)
            last = len(local) if n == enhancers else -3
            self.add_module(f"model{n}_1", nn.Sequential(*local[:7]))
            self.add_module(f"model{n}_2", nn.Sequential(*local[7:last]))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The image, (B, out_channels, H, W)."""
        scales = [x_BCHW]
        for _ in range(self.enhancers):
            scales.append(halve(scales[-1]))
        y_BCHW: Tensor = self.model(scales[-1])
        for n in range(1, self.enhancers + 1):
            down, up = self.get_submodule(f"model{n}_1"), self.get_submodule(f"model{n}_2")
            y_BCHW = up(down(scales[-1 - n]) + y_BCHW)
        return y_BCHW


class MultiscaleDiscriminator(nn.Module):
    """D(planes and image (B, 39, H, W)): for each scale, finest first, the features of every layer; the last are patch scores.

    ``num_d`` 2, or 3 at 1024 rows. Keys ``scale{i}_layer{0..4}.0``; the net with the highest number sees the full size.
    """

    def __init__(self, ndf: int = 64, *, in_channels: int = 39, num_d: int = 2, layers: int = 3) -> None:
        super().__init__()
        self.num_d, self.layers = num_d, layers
        for scale in range(num_d):
            for j, stage in enumerate(_discriminator_stages(in_channels, ndf, layers)):
                self.add_module(f"scale{scale}_layer{j}", stage)

    def forward(self, x_BCHW: Tensor) -> list[list[Tensor]]:
        """One list of features per scale."""
        results = []
        for scale in reversed(range(self.num_d)):
            features = [x_BCHW]
            for j in range(self.layers + 2):
                features.append(self.get_submodule(f"scale{scale}_layer{j}")(features[-1]))
            results.append(features[1:])
            x_BCHW = halve(x_BCHW)
        return results


def halve(x_BCHW: Tensor) -> Tensor:
    """Half the size: means of 3x3 windows, of the pixels inside the image only."""
    return F.avg_pool2d(x_BCHW, 3, stride=2, padding=1, count_include_pad=False)


def pix2pixhd_from_state(state: StateDict, *, source: str = "state_dict") -> Pix2PixHDGenerator | Pix2PixHDLocalEnhancer:
    """The global generator or the local enhancer, as ``state`` tells, with its weights; raises CheckpointError if it is neither."""
    state = standard_names(state)
    blocks_at = block_indices(state, r"model\.(\d+)\.conv_block\.1\.weight")
    downs = min(max(blocks_at[0] - 4, 0) // 3, MOST_DOWNS) if blocks_at else 4
    blocks = len(blocks_at) or 9
    ngf = dimension(state, "model.1.weight", 0, 64)
    in_channels = dimension(state, "model.1.weight", 1, 36)
    enhancers = min(len(block_indices(state, r"model(\d+)_1\.1\.weight")), MOST_DOWNS)
    with torch.device("meta"):
        net: Pix2PixHDGenerator | Pix2PixHDLocalEnhancer
        if enhancers:
            local_blocks = len(block_indices(state, rf"model{enhancers}_2\.(\d+)\.conv_block\.1\.weight"))
            net = Pix2PixHDLocalEnhancer(
                max(ngf // 2**enhancers, 1),
                in_channels=in_channels,
                out_channels=dimension(state, f"model{enhancers}_2.{local_blocks + 4}.weight", 0, 3),
                downs=downs,
                blocks=blocks,
                enhancers=enhancers,
                local_blocks=local_blocks,
            )
        else:
            last = 5 + 6 * downs + blocks
            out_channels = dimension(state, f"model.{last}.weight", 0, 3)
            net = Pix2PixHDGenerator(ngf, in_channels=in_channels, out_channels=out_channels, downs=downs, blocks=blocks)
    load_weights(net, state, source=source)
    return net


def _discriminator_stages(in_channels: int, ndf: int, layers: int) -> list[nn.Sequential]:
    """[conv4 p2, norm, LeakyReLU] stages: no norm in the first, one channel and nothing else in the last; 512 channels at most."""
    widths = [min(ndf * 2**j, 512) for j in range(layers + 1)]
    stages = [nn.Sequential(nn.Conv2d(in_channels, ndf, 4, stride=2, padding=2), nn.LeakyReLU(0.2))]
    for j in range(1, layers + 1):
        conv = nn.Conv2d(widths[j - 1], widths[j], 4, stride=2 if j < layers else 1, padding=2)
        stages.append(nn.Sequential(conv, instance_norm(widths[j], affine=False), nn.LeakyReLU(0.2)))
    return [*stages, nn.Sequential(nn.Conv2d(widths[-1], 1, 4, padding=2))]


def edge_map(instance_ids_BHW: Tensor) -> Tensor:
    """1 where a pixel's instance id differs from that of a neighbour above, below, left or right, else 0; float32 (B, 1, H, W).

    Raises ValueError unless the ids are integers (B, H, W).
    """
    ids_BHW = _to_integers(instance_ids_BHW)
    edges_BHW = torch.zeros_like(ids_BHW, dtype=torch.bool)
    across = ids_BHW[:, :, 1:] != ids_BHW[:, :, :-1]
    down = ids_BHW[:, 1:] != ids_BHW[:, :-1]
    edges_BHW[:, :, 1:] |= across
    edges_BHW[:, :, :-1] |= across
    edges_BHW[:, 1:] |= down
    edges_BHW[:, :-1] |= down
    return edges_BHW[:, None].float()


def one_hot_labels(label_ids_BHW: Tensor, labels: int = LABELS) -> Tensor:
    """One plane per label, 1 where a pixel has it, else 0; float32 (B, labels, H, W).

    Raises ValueError unless the ids are integers (B, H, W) in 0 .. labels - 1.
    """
    ids_BHW = _to_integers(label_ids_BHW)
    low, high = int(ids_BHW.min()), int(ids_BHW.max())
    if low < 0 or high >= labels:
        raise ValueError(f"label ids must lie in 0..{labels - 1}, found {low}..{high}")
    return F.one_hot(ids_BHW, labels).movedim(-1, 1).float()


def label_planes(label_ids_BHW: Tensor, instance_ids_BHW: Tensor, labels: int = LABELS) -> Tensor:
    """The input of pix2pixHD: label planes and the edge map, float32 (B, labels + 1, H, W) of 0 and 1."""
    return torch.cat([one_hot_labels(label_ids_BHW, labels), edge_map(instance_ids_BHW)], dim=1)


def _to_integers(ids_BHW: Tensor) -> Tensor:
    if ids_BHW.ndim != 3 or not ids_BHW.numel() or ids_BHW.is_floating_point() or ids_BHW.is_complex():
        raise ValueError(f"ids must be integers (B, H, W), at least one, got {ids_BHW.dtype} {tuple(ids_BHW.shape)}")
    return ids_BHW.long()
