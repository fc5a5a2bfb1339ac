"""The processes that compute clips, on this machine or on a cluster."""
