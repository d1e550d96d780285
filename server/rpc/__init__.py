"""The two faces of the server: they translate between the wire and the lanes, and decide nothing."""
