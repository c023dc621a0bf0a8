"""What the router costs: beside a pod without any router, and beside nginx and HAProxy with the same split."""
