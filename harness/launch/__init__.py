"""Execute runs in this process, in several processes, or as jobs of a cluster; show and cancel them."""
