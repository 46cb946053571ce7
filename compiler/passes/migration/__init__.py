"""Moves part of the activations' range into weights, by a factor per input channel."""
