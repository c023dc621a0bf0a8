module headgate.dev/e2e/pause

go 1.25
