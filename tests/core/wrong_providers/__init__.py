"""Providers that are wrong in one way each: the conformance kit must find every one of them."""
