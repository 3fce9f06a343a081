"""The Keyhinge provider for AWS KMS."""
