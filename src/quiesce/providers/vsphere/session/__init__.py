"""The way to a vCenter, through pyVmomi: everything that knows the SDK."""
