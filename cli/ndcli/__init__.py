"""The command line of ndengine."""
