"""The Keyhinge providers for HashiCorp Vault and OpenBao Transit: `vault` and `openbao`."""
