"""Exporter: one whole model, in fp32 safetensors, that loads without anything of ours."""
