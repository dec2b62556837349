package config

// nearest returns the name that word most likely stands for, or "".
func nearest(word string, names []string) string {
	best, minDistance := "", 1+max(2, min(len(word), 64)/3)
	for _, name := range names {
		if d := distance(shorten(word), name); d < minDistance {
			best, minDistance = name, d
		}
	}
	return best
}

// distance returns the Levenshtein distance: the number of bytes to change, add or
// remove to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
