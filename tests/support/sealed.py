"""Models that were changed on purpose, with a checksum that holds again: so that what refuses them is not the checksum."""

import onnx
import safetensors.torch

from gpsr_deploy.model_files.gate import CHECKSUM_BLANK, CHECKSUM_KEY, with_checksum


def onnx_bytes(model: onnx.ModelProto) -> bytes:
    """`model` with its checksum made anew, where it has one."""
    sealed = onnx.ModelProto.FromString(model.SerializeToString())
    for entry in sealed.metadata_props:
        if entry.key == CHECKSUM_KEY:
            entry.value = CHECKSUM_BLANK
            return with_checksum(sealed.SerializeToString())
    return sealed.SerializeToString()


def safetensors_bytes(tensors: dict, metadata: dict[str, str]) -> bytes:
    """A safetensors file with its checksum made anew, where the metadata has one."""
    if CHECKSUM_KEY not in metadata:
        return safetensors.torch.save(tensors, metadata)
    return with_checksum(safetensors.torch.save(tensors, metadata | {CHECKSUM_KEY: CHECKSUM_BLANK}))
