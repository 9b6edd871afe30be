"""Tests; those of one concern live in one file named after it."""
