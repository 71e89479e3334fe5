"""The synthetic town: who pays where and when, and what of it is fraud."""
