"""The models, a row each, and how pretrained weights come into them."""
