"""What gives frames: files, cameras, streams, pipes and scenes, behind one protocol."""
