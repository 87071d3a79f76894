// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The handler warns if a body of max_size does not fit into the share of one
// client.
func TestWarnsOfSmallLimit(t *testing.T) {
	for _, c := range []struct {
		maxSize, inFlight int64
		warns             bool
	}{
		{0, 0, false},
		{1_000_000, 2_000_000, false},
		{1_000_000, 1_999_999, true},
		{0, 20_000_000, true},
		{600_000_000, 0, true},
	} {
		var told []string
		h := &Handler{MaxSize: c.maxSize, InFlightLimit: c.inFlight}
		h.logger = zap.NewNop().WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core {
			return zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(lines{&told}), zap.WarnLevel)
		}))
		h.setDefaults()
		h.warn()
		if warned := len(told) == 1 && strings.Contains(told[0], "in_flight_limit is less than twice max_size"); warned != c.warns || len(told) > 1 {
			t.Errorf("max_size %d, in_flight_limit %d: %q", c.maxSize, c.inFlight, told)
		}
	}
}

// lines keeps each write as one line.
type lines struct{ to *[]string }

func (l lines) Write(b []byte) (int, error) {
	*l.to = append(*l.to, string(b))
	return len(b), nil
}
