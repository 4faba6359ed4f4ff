"""The drawing room of the built-in dataset: vocabulary, patterns, canvas, things and the views made of them."""
