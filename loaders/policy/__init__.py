"""The policy language, and its lowering to passes of pixel ops."""
