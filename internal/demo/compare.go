package demo

// change is one change of an object, by what identifies its content.
type change struct {
	stream, key string
	sum         [32]byte // SHA-256 of the payload
}

// Tally compares what was sent with what arrived, byte for byte by SHA-256.
type Tally struct {
	Sent    int `json:"sent"`
	Arrived int `json:"arrived"`
	// Missing did not arrive, Doubled arrived once too often, Changed arrived with other bytes, and Unsent nobody had sent.
	Missing int `json:"missing"`
	Doubled int `json:"doubled"`
	Changed int `json:"changed"`
	Unsent  int `json:"unsent"`
}

// Clean says that exactly what was sent arrived.
func (t Tally) Clean() bool { return t.Missing+t.Doubled+t.Changed+t.Unsent == 0 }

// compare compares two multisets.
func compare(sent, arrived []change) Tally {
	t := Tally{Sent: len(sent), Arrived: len(arrived)}
	type object struct{ stream, key string }
	was := make(map[change]int)
	for _, c := range sent {
		was[c]++
	}
	more := make(map[change]int) // arrived beyond sent
	for c, n := range was {
		more[c] = -n
	}
	for _, c := range arrived {
		more[c]++
	}
	missing, strange := make(map[object]int), make(map[object]int)
	for c, n := range more {
		at := object{c.stream, c.key}
		switch {
		case n < 0:
			missing[at] -= n
			t.Missing -= n
		case n > 0 && was[c] > 0:
			t.Doubled += n
		case n > 0:
			strange[at] += n
			t.Unsent += n
		}
	}
	// A payload that nobody sent, of an object of which one is missing, is that one, changed.
	for at, n := range strange {
		n = min(n, missing[at])
		t.Changed += n
		t.Missing -= n
		t.Unsent -= n
	}
	return t
}
