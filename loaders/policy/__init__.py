"""The policy language, and its lowering to integer steps."""
