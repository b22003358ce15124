module evidenced.example/sumdb

go 1.24

require golang.org/x/mod v0.0.0

// Go's own copy, out of its distribution: the recipe in docs/AUDITORS.md puts it here.
replace golang.org/x/mod => ./mod
