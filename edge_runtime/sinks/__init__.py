"""What takes results: files, pictures, videos, the network, commands."""
