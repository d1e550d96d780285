"""gRPC over HTTP/2 on the event loop itself: the frames by nghttp2, the calls here. docs/architecture.md says why.

listen      the port, by whichever of the two servers can be had
grpcio      gRPC's own server
http2       ours: its sockets, and how it ends
connection  a socket, its session, and the calls on it
call        one call, as a service's handler sees it
requests    what its client sends, no faster than the handler takes it
share       what the calls of a connection may take of the event loop, before others have their turn
messages    gRPC's length-prefixed messages
heads       what stands before a call's messages, and behind them
session     one HTTP/2 connection without its socket: bytes in, bytes out
stream      one of its streams: what it has to send, and who hears of it
native      a session of nghttp2's, made
library     nghttp2's functions, found at run time
"""
