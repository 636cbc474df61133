package common

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
	"github.com/ovirt-provision/ovirt-provision/plugins/packer/packer-plugin-ovirt/builder/buildtest"
)

// barUi is a terminal with a progress bar that can only move forward.
type barUi struct {
	buildtest.UI
	title  string
	total  int64
	shown  int
	moves  int
	closed bool
}

func (u *barUi) TrackProgress(title string, _, total int64, stream io.ReadCloser) io.ReadCloser {
	u.title, u.total = title, total
	return &bar{u, stream}
}

type bar struct {
	ui     *barUi
	stream io.ReadCloser
}

func (b *bar) Read(p []byte) (int, error) {
	n, err := b.stream.Read(p)
	b.ui.shown += n
	b.ui.moves++
	return n, err
}

func (b *bar) Close() error {
	b.ui.closed = true
	return b.stream.Close()
}

func snapshot(phase string, percent int32, text string) *pb.Operation {
	return &pb.Operation{
		Verb: "CreateMachine", State: pb.Operation_STATE_RUNNING, Phase: phase, Percent: percent, Progress: text,
	}
}

func TestProgressInLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ui := &barUi{}
		p := showProgress(ui, "CreateMachine")
		p.show(snapshot("", 0, ""))
		p.show(snapshot("cloning", 5, "disk a_Disk1 is locked"))
		p.show(snapshot("cloning", 7, "disk a_Disk1 is locked"))
		p.show(snapshot("cloning", 15, "disk a_Disk1 is locked"))
		time.Sleep(65 * time.Second)
		p.show(snapshot("booting", 60, ""))
		undoing := snapshot("booting", 60, "")
		undoing.State = pb.Operation_STATE_UNDOING
		p.show(undoing)
		cancelled := snapshot("booting", 60, "")
		cancelled.State, cancelled.EndTime = pb.Operation_STATE_CANCELLED, timestamppb.Now()
		p.show(cancelled)
		p.close()
		time.Sleep(time.Hour)

		var lines, machine []string
		for _, line := range ui.Lines() {
			if rest, ok := strings.CutPrefix(line, "MACHINE "); ok {
				machine = append(machine, rest)
			} else {
				lines = append(lines, line)
			}
		}
		want := []string{
			"      5 % cloning: disk a_Disk1 is locked (0s)",
			"     15 % cloning: disk a_Disk1 is locked (0s)",
			"     15 % cloning: disk a_Disk1 is locked (30s)",
			"     15 % cloning: disk a_Disk1 is locked (1m0s)",
			"     60 % booting (1m5s)",
			"    undoing: booting (1m5s)",
			"    cancelled and undone (1m5s)",
		}
		if !slices.Equal(lines, want) {
			t.Errorf("lines:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		if machine[0] != "progress,CreateMachine,cloning,5,disk a_Disk1 is locked" || len(machine) != 6 {
			t.Errorf("machine-readable: %q", machine)
		}
	})
}

func TestProgressAsABar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ui := &barUi{}
		p := showProgress(ui, "CreateMachine")
		for percent := range int32(100) {
			p.show(snapshot("cloning", percent, ""))
			time.Sleep(10 * time.Millisecond)
		}
		if ui.moves > 5 || ui.shown < 70 {
			t.Errorf("within a second the bar moved %d times, to %d", ui.moves, ui.shown)
		}
		p.show(snapshot("undoing", 40, ""))
		p.show(snapshot("done", 100, ""))
		p.close()
		if ui.title != "CreateMachine" || ui.total != 100 || ui.shown != 100 || !ui.closed {
			t.Errorf("the bar: %+v", ui)
		}
	})
}

func TestTimings(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds float64) *timestamppb.Timestamp {
		return timestamppb.New(start.Add(time.Duration(seconds * float64(time.Second))))
	}
	measured := &timings{}
	measured.addPhases(&pb.Operation{
		Verb: "CreateMachine", EndTime: at(10),
		Phases: []*pb.Operation_Phase{
			{Name: "cloning", StartTime: at(0), EndTime: at(3.25)},
			{Name: "waiting-for-address", StartTime: at(3.25)},
		},
	})
	measured.addPhases(nil)
	measured.add("provisioning", time.Minute)
	want := "\n    CreateMachine cloning                 3.2 s" +
		"\n    CreateMachine waiting-for-address     6.8 s" +
		"\n    provisioning                         60.0 s"
	if got := measured.String(); got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
	ui := &buildtest.UI{}
	measured.show(ui)
	if got := ui.Lines()[len(ui.Lines())-1]; len(ui.Lines()) != 4 || got != "MACHINE timing,provisioning,60.0" {
		t.Errorf("machine-readable: %q", ui.Lines())
	}
}
