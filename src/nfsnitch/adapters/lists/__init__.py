"""Lists on disk and from the network: mapped, compiled and fetched, each by a helper process."""
