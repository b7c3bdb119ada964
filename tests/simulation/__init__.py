"""The whole relay in a seeded world: the product's code on a virtual clock, around it a log, a group and a realtime service."""
