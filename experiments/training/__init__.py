"""The stages that train: a data folder and its identifiers -> a model folder, or a fine-tuned encoder."""
