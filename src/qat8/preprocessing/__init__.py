"""Photographs -> data file at any number of images: the list, the chunks, who works on them, the file that grows."""
