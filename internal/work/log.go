package work

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// asynqLog passes asynq's log lines on. Its Info is a worker's own life, which
// weir reports in its words; so one level less.
type asynqLog struct{ log *slog.Logger }

func (a asynqLog) Debug(args ...any) {}
func (a asynqLog) Info(args ...any)  { a.log.Debug(text(args)) }
func (a asynqLog) Warn(args ...any)  { a.log.Debug(text(args)) }
func (a asynqLog) Fatal(args ...any) { a.log.Error(text(args)) }

// Error is a Warn, but for what Redis said: the gate and the ledger tell of that, once.
func (a asynqLog) Error(args ...any) {
	level, line := slog.LevelWarn, text(args)
	if strings.Contains(line, "redis eval error") || strings.Contains(line, "redis command error") {
		level = slog.LevelDebug
	}
	a.log.Log(context.Background(), level, line)
}

func text(args []any) string { return "asynq: " + strings.TrimSpace(fmt.Sprint(args...)) }
