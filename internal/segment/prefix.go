package segment

// Prefix is what the names of everything sealed for the epoch's stream begin with.
func (n Name) Prefix() string { return n.Epoch + "/" + escapeStream(n.Stream) + "/" }
