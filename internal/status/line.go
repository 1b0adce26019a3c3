package status

import "time"

// Line is a batch as --json and the web UI have it.
type Line struct {
	Batch     string    `json:"batch"`
	Type      string    `json:"type"`
	State     string    `json:"state"`
	Stopped   bool      `json:"stopped"`
	Paused    bool      `json:"paused"`
	Expired   bool      `json:"expired"`
	Created   time.Time `json:"created"`
	N         *int64    `json:"n"`
	Read      int64     `json:"read"`
	OK        int64     `json:"ok"`
	Failed    int64     `json:"failed"`
	Cancelled int64     `json:"cancelled"`
	Pending   int64     `json:"pending"`
	Scheduled int64     `json:"scheduled"`
	Retry     int64     `json:"retry"`
	Active    int64     `json:"active"`
	Missing   int64     `json:"missing"`
	SetAside  int64     `json:"set_aside"`
	Retries   int64     `json:"retries"`
	Lane      string    `json:"lane"`
	Priority  string    `json:"priority"`
	Input     string    `json:"input"`
}

// Line is the status as one JSON object.
func (s *Status) Line() Line {
	return Line{s.Name, s.Options.Type, string(s.Phase), s.Stopped, s.Paused, s.Expired, s.Created, known(s.N), s.Read(),
		s.OK, s.Failed, s.Cancelled, s.Pending, s.Scheduled, s.Tally.Retry, s.Active, s.Missing(), s.SetAside,
		s.Retries, s.Options.Lane, s.Options.Priority.String(), s.Options.Input}
}

func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}
