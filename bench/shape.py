"""The shape that every contender trains: the model and batch of the verdict preset."""

from minigpt.model.config import ModelConfig

VOCABULARY_SIZE = 50_257
CONTEXT_LENGTH = 256
BATCH_SIZE = 2
WIDTH = 768
HEADS = 12
LAYERS = 12
DROPOUT = 0.1
LEARNING_RATE = 4e-4
WEIGHT_DECAY = 0.1


def verdict_model_config(dropout: float) -> ModelConfig:
    return ModelConfig(
        context_length=CONTEXT_LENGTH,
        width=WIDTH,
        heads=HEADS,
        layers=LAYERS,
        dropout=dropout,
        initialisation="pytorch",
    )
