"""Programs that write texts when asked, each with another library; see `talk`."""
