"""What a chip can do at most, by its maker's word; of a chip that no table names, nothing is claimed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Speed:
    """A kind of chip: what JAX calls its devices, how many a chip has, and a chip's published figures."""

    device_kind: str
    devices_per_chip: int
    peak_flops: float  # a second, in bfloat16, of dense matrices
    bandwidth: float  # bytes a second between the chip and its memory

    @property
    def device_peak_flops(self) -> float:
        """What one device of the chip can do a second."""
        return self.peak_flops / self.devices_per_chip


# NVIDIA's data sheets: A100 (2021), H100 (2023), H200 (2024); bfloat16 tensor cores, half of the figure that
# is printed with sparsity. Cards of less power (PCIe) have less.
GPUS = (
    Speed("NVIDIA A100-SXM4-40GB", 1, 312e12, 1555e9),
    Speed("NVIDIA A100-SXM4-80GB", 1, 312e12, 2039e9),
    Speed("NVIDIA A100-PCIE-40GB", 1, 312e12, 1555e9),
    Speed("NVIDIA A100 80GB PCIe", 1, 312e12, 1935e9),
    Speed("NVIDIA H100 80GB HBM3", 1, 989e12, 3350e9),
    Speed("NVIDIA H100 PCIe", 1, 756e12, 2000e9),
    Speed("NVIDIA H200", 1, 989e12, 4800e9),
)
