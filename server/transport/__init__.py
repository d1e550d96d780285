"""gRPC over HTTP/2 on the event loop itself: the frames by nghttp2, the calls here. docs/architecture.md says why.

library   nghttp2's functions, found at run time
session   one HTTP/2 connection without its socket: bytes in, bytes out
messages  gRPC's length-prefixed messages
heads     what stands before a call's messages, and behind them
call      one call, as a service's handler sees it
connection  a socket, its session, and its calls
server    the ports, and how it ends
"""
