"""Networks: query encoders, tokenizer, quantizer, item tower, interaction scorers and the models."""
