"""The INI file: text to model and back."""
