"""`tokenstream bench`: the relay under load, every token checked on its way; a run that lost, repeated or reordered one prints no figure."""
