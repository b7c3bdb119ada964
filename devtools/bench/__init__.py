"""`tokenstream bench`: measures the relay under load, and checks every token. A run that lost, repeated or reordered
one prints no figure.
"""
