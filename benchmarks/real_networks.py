"""Networks that people train, small enough for a laptop: keras.applications and keras_hub.

Weights are random, nothing is downloaded. They are settled so that numbers look like those of a
trained network: batch normalisation gets the statistics of a batch, scales and biases are no
longer all ones and zeros (`LayerScale` starts at 1e-6, LoRA at 0), and no logit saturates.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CLASSES = 10
LORA_RANK = 4
# Name in keras.applications -> side of its images.
IMAGE_SIDES = {
    "ResNet50": 64,
    "ResNet50V2": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "ConvNeXtTiny": 64,
    "DenseNet121": 64,
    "VGG16": 64,
    "Xception": 96,
    "InceptionV3": 96,
    "NASNetMobile": 64,
}
HUB = ("BERT", "GPT-2", "Llama", "Gemma", "T5", "ViT", "Whisper")
VOCABULARY, TOKENS, FRAMES, MELS, IMAGE = 5000, 32, 64, 20, 64
# Widths of all transformers; keras_hub has one keyword for each of these.
SIZES = {"num_layers": 2, "hidden_dim": 128}


@dataclass(frozen=True)
class Network:
    """A model and data for it.

    Attributes:
        model: Built and settled.
        data: Batch size -> `(x, y)` as NumPy arrays.
        backbone: The part of a transformer that LoRA changes.
    """

    model: Any
    data: Callable[[int], tuple[Any, Any]]
    backbone: Any = None


def names() -> list[str]:
    """Names of all networks; those of keras_hub with and without LoRA."""
    return [*IMAGE_SIDES, *HUB, *(f"{name} LoRA" for name in HUB)]


def can_build(name: str) -> bool:
    """Whether what the network needs is installed."""
    return name in IMAGE_SIDES or importlib.util.find_spec("keras_hub") is not None


def build(name: str) -> Network:
    """Build a network with random, settled weights; twice the same in one process.

    Args:
        name: One of `names()`.

    Returns:
        `Network`, in the dtype that `keras.config.dtype_policy` asks for.
    """
    import keras

    keras.utils.set_random_seed(1)
    if name in IMAGE_SIDES:
        network = _application(name)
    else:
        family, _, lora = name.partition(" ")
        network = _TRANSFORMERS[family]()
        if lora:
            _enable_lora(network.backbone)
    _settle(network)
    return network


def _application(name: str) -> Network:
    import keras

    side = IMAGE_SIDES[name]
    options: dict[str, Any] = {"include_preprocessing": False} if _has_preprocessing(name) else {}
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(side, side, 3),
        classes=CLASSES,
        classifier_activation=None,
        **options,
    )

    def data(batch: int) -> tuple[Any, Any]:
        return _images(batch, side), _labels(batch, CLASSES)

    return Network(model, data)


def _has_preprocessing(name: str) -> bool:
    return name.startswith(("MobileNetV3", "EfficientNetV2", "ConvNeXt"))


def _bert() -> Network:
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        VOCABULARY, num_heads=4, intermediate_dim=256, max_sequence_length=TOKENS, **SIZES
    )
    model = keras_hub.models.BertMaskedLM(backbone, preprocessor=None)

    def data(batch: int) -> tuple[Any, Any]:
        x = _token_inputs(batch) | {"segment_ids": np.zeros((batch, TOKENS), "int32")}
        x["mask_positions"] = np.tile(np.arange(0, TOKENS, 4, dtype="int32"), (batch, 1))
        return x, _labels((batch, TOKENS // 4), VOCABULARY)

    return Network(model, data, backbone)


def _gpt2() -> Network:
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        VOCABULARY, num_heads=4, intermediate_dim=256, max_sequence_length=TOKENS, **SIZES
    )
    return Network(keras_hub.models.GPT2CausalLM(backbone, preprocessor=None), _language, backbone)


def _llama() -> Network:
    import keras_hub

    backbone = keras_hub.models.LlamaBackbone(
        VOCABULARY, num_query_heads=4, num_key_value_heads=2, intermediate_dim=256, **SIZES
    )
    return Network(keras_hub.models.LlamaCausalLM(backbone, preprocessor=None), _language, backbone)


def _gemma() -> Network:
    import keras_hub

    backbone = keras_hub.models.GemmaBackbone(
        VOCABULARY,
        num_query_heads=4,
        num_key_value_heads=1,
        intermediate_dim=512,
        head_dim=32,
        **SIZES,
    )
    return Network(keras_hub.models.GemmaCausalLM(backbone, preprocessor=None), _language, backbone)


def _t5() -> Network:
    import keras_hub

    backbone = keras_hub.models.T5Backbone(VOCABULARY, num_heads=4, intermediate_dim=256, **SIZES)
    model = _language_head(
        backbone, backbone.output["decoder_sequence_output"], backbone.token_embedding
    )

    def data(batch: int) -> tuple[Any, Any]:
        x = _token_inputs(batch, "encoder_") | _token_inputs(batch, "decoder_")
        return x, _labels((batch, TOKENS), VOCABULARY)

    return Network(model, data, backbone)


def _vit() -> Network:
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(
        (IMAGE, IMAGE, 3), patch_size=8, num_heads=4, mlp_dim=256, **SIZES
    )
    model = keras_hub.models.ViTImageClassifier(backbone, num_classes=CLASSES)

    def data(batch: int) -> tuple[Any, Any]:
        return _images(batch, IMAGE), _labels(batch, CLASSES)

    return Network(model, data, backbone)


def _whisper() -> Network:
    import keras_hub

    backbone = keras_hub.models.WhisperBackbone(
        VOCABULARY,
        num_heads=4,
        intermediate_dim=256,
        num_mels=MELS,
        max_encoder_sequence_length=FRAMES,
        max_decoder_sequence_length=TOKENS,
        **SIZES,
    )
    embedding = backbone.decoder_embeddings.token_embedding
    model = _language_head(backbone, backbone.output["decoder_sequence_output"], embedding)

    def data(batch: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(batch)
        features = rng.normal(size=(batch, FRAMES, MELS)).astype("float32")
        x = {"encoder_features": features, **_token_inputs(batch, "decoder_")}
        return x, _labels((batch, TOKENS), VOCABULARY)

    return Network(model, data, backbone)


_TRANSFORMERS: dict[str, Callable[[], Network]] = {
    "BERT": _bert,
    "GPT-2": _gpt2,
    "Llama": _llama,
    "Gemma": _gemma,
    "T5": _t5,
    "ViT": _vit,
    "Whisper": _whisper,
}


def _language_head(backbone: Any, hidden: Any, embedding: Any) -> Any:
    """Logits from the transposed table of the token embedding."""
    import keras

    return keras.Model(backbone.input, embedding(hidden, reverse=True))


def _enable_lora(backbone: Any) -> None:
    """LoRA on queries and values of the backbone; everything else in it is frozen."""
    targets = ["query", "value", "query_dense", "value_dense", "query_projector", "value_projector"]
    backbone.enable_lora(LORA_RANK, target_layer_names=targets)
    if not any("lora" in variable.path for variable in backbone.trainable_variables):
        raise ValueError(f"LoRA found none of the layers {targets} in '{backbone.name}'.")


def _images(batch: int, side: int) -> np.ndarray:
    return np.random.default_rng(batch).normal(size=(batch, side, side, 3)).astype("float32")


def _labels(shape: Any, classes: int) -> np.ndarray:
    return np.random.default_rng(2).integers(1, classes, shape).astype("int32")


def _token_inputs(batch: int, prefix: str = "") -> dict[str, np.ndarray]:
    """Random tokens; every second example ends in padding."""
    rng = np.random.default_rng(batch)
    mask = np.ones((batch, TOKENS), "int32")
    mask[1::2, -TOKENS // 4 :] = 0
    tokens = rng.integers(1, VOCABULARY, (batch, TOKENS)).astype("int32")
    return {f"{prefix}token_ids": tokens, f"{prefix}padding_mask": mask}


def _language(batch: int) -> tuple[Any, Any]:
    return _token_inputs(batch), _labels((batch, TOKENS), VOCABULARY)


def _settle(network: Network) -> None:
    """Perturb what starts as a constant; take batch-norm statistics from a batch."""
    import keras

    from tf_gradvar.keras_internals import flatten_layers

    rng = np.random.default_rng(3)
    for variable in network.model.trainable_variables:
        value = variable.numpy()
        if value.ndim == 1 or not value.any():
            variable.assign(value + 0.1 * rng.normal(size=value.shape))
    layers = flatten_layers(network.model)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    if norms:
        kept = [layer.momentum for layer in norms]
        for layer in norms:
            layer.momentum = 0.0
        network.model(network.data(16)[0], training=True)
        for layer, momentum in zip(norms, kept, strict=True):
            layer.momentum = momentum
