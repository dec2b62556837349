module example.com/app/v2

go 1.26.0

require (
	example.com/lib v0.0.0
	golang.org/x/mod v0.43.0
	golang.org/x/sync v0.23.0
)

replace example.com/lib => ../lib

replace golang.org/x/sync v0.23.0 => golang.org/x/sync v0.24.0
