package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"peerscore/assess/probe/probetest"
	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/demo"
	"peerscore/cmd/peerscore/view"
)

// labPort, where it is set, is the port of every server in the laboratory: the binary under
// test then finds mail and web servers there.
const labPort = "LAB_PORT"

func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"peerscore": func() {
		port, err := strconv.ParseUint(os.Getenv(labPort), 10, 16)
		if err != nil {
			main()
			return
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(run(ctx, os.Args[1:], &app{Console: view.StandardConsole(), around: demo.AllServersAt(uint16(port))}))
	}})
}

// suite is all tests. They mostly wait for other processes: more of them may do so at once than
// there are processors.
type suite struct{ *testing.M }

func (s suite) Run() int {
	atOnce := "6"
	if underRace {
		atOnce = "4"
	}
	if err := flag.Set("test.parallel", atOnce); err != nil { // -parallel, where it is given, comes after
		panic(err)
	}
	defer os.RemoveAll(victimFolder)
	return s.M.Run()
}

// TestScript tells one story a command. Each script has the world of the demo around it:
// lab.toml configures a mail host in it, whose milter listens on milter.sock. So do web.toml,
// which serves HTTP too, other.toml with another profile, distrust.toml, which does not know the
// world's certification authority, and more that setUpScript makes.
func TestScript(t *testing.T) {
	t.Parallel()
	world := startLab(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setUpScript(env, world) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"eventually": eventually,
			"signal":     sendSignal,
			"notified":   notified,
			"json":       jsonValue,
			"get":        get,
			"deliver":    func(ts *testscript.TestScript, _ bool, args []string) { deliver(ts, world, args) },
		},
	})
}

// hostile is a provider whose DNS holds control characters.
var hostile = demo.Provider{
	Domain: "hostile.example", Story: "escape sequences", Zone: "unsigned", MX: []string{"good"},
	SPF: `exp=\027[31mred\007 ~all`, DMARC: `p=none; x=\027]0;title\007`, Senders: 1, Messages: 1,
}

func startLab(t *testing.T) *demo.World {
	world, err := demo.StartWorld(append(slices.Clone(demo.Providers), hostile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { world.Close() })
	for name, records := range map[string]string{ // who has no mail host
		"parked.example": "@ MX 0 .\n@ TXT \"v=spf1 -all\"\n_dmarc TXT \"v=DMARC1; p=reject\"",
		"bare.example":   "@ TXT \"v=spf1 -all\"",
	} {
		if err := world.DNS.Set(probetest.Zone{Name: name, Records: records}); err != nil {
			t.Fatal(err)
		}
	}
	return world
}

type notifySocket struct{}

func setUpScript(env *testscript.Env, world *demo.World) error {
	cfg := demo.Config(world, env.WorkDir)
	cfg.Milter.Listen = config.Listeners{{Network: "unix", Address: filepath.Join(env.WorkDir, "milter.sock")}}
	cfg.Assess.CAFile = filepath.Join(env.WorkDir, "ca.pem")
	port, err := demo.FreePort()
	if err != nil {
		return err
	}
	group, err := user.LookupGroupId(strconv.Itoa(os.Getgid()))
	if err != nil {
		return err
	}
	web, other, distrust, passive, deny, grouped := cfg, cfg, cfg, cfg, cfg, cfg
	web.HTTP.Listen = fmt.Sprintf("127.0.0.1:%d", port)
	other.Score.Profile = "mecsa-2020"
	distrust.Assess.CAFile = ""
	passive.Assess.Enabled, passive.Log.Format = false, "json"
	deny.Assess.DenyDomains, deny.Log.Level = []config.DomainName{"nordmail.example"}, "warn"
	grouped.Milter.SocketMode, grouped.Milter.SocketGroup = 0o620, group.Name
	for name, cfg := range map[string]config.Config{
		"lab.toml": cfg, "web.toml": web, "other.toml": other, "distrust.toml": distrust,
		"passive.toml": passive, "deny.toml": deny, "grouped.toml": grouped,
	} {
		var text bytes.Buffer
		if err := (&app{Console: view.Console{Out: &text}}).writeConfig(cfg); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), world.CA.RootPEM(), 0o644); err != nil {
		return err
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(env.WorkDir, "notify.sock")})
	if err != nil {
		return err
	}
	env.Values[notifySocket{}] = socket
	env.Defer(func() { socket.Close() })
	env.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	env.Setenv(labPort, strconv.Itoa(int(world.Port)))
	env.Setenv("GROUP", group.Name)
	env.Setenv("WEB", "http://"+web.HTTP.Listen)
	return nil
}

// patience is how long a script waits for what must come.
const patience = 30 * time.Second

// exits runs a command that must end with a status: `exits 2 peerscore show`.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	status := 0
	if exit := (&exec.ExitError{}); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("exit status %d, want %s", status, args[0])
	}
}

// eventually repeats a command until its output matches: `eventually scored peerscore list`.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[0])
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...) // it may not be there yet
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("%s never matched", args[0])
}

// sendSignal sends TERM or HUP to the background command that was started last.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	background := ts.BackgroundCmds()
	ts.Check(background[len(background)-1].Process.Signal(signals[args[0]]))
}

// notified waits for what a service tells systemd in one message: `notified READY=1`. What ends
// in "=" may have any value.
func notified(ts *testscript.TestScript, _ bool, args []string) {
	socket := ts.Value(notifySocket{}).(*net.UnixConn)
	ts.Check(socket.SetReadDeadline(time.Now().Add(patience)))
	for state := make([]byte, 4096); ; {
		n, err := socket.Read(state)
		if err != nil {
			ts.Fatalf("not told %s: %v", args, err)
		}
		lines := strings.Split(string(state[:n]), "\n")
		absent := func(want string) bool {
			return !slices.ContainsFunc(lines, func(l string) bool { return l == want || strings.HasSuffix(want, "=") && strings.HasPrefix(l, want) })
		}
		if !slices.ContainsFunc(args, absent) {
			return
		}
	}
}

// jsonValue compares one value of the last output: `json scores.identity.stars 4.5`.
func jsonValue(ts *testscript.TestScript, neg bool, args []string) {
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	for _, step := range strings.Split(args[0], ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(v) {
				ts.Fatalf("no %s: %d elements", args[0], len(v))
			}
			value = v[i]
		default:
			ts.Fatalf("no %s", args[0])
		}
	}
	text, err := json.Marshal(value)
	ts.Check(err)
	if got := strings.Trim(string(text), `"`); (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

// get fetches a page of the daemon's HTTP listener, under another host name if one is given:
// status and body become the output.
func get(ts *testscript.TestScript, _ bool, args []string) {
	request, err := http.NewRequest(http.MethodGet, ts.Getenv("WEB")+args[0], nil)
	ts.Check(err)
	if len(args) > 1 {
		request.Host = args[1]
	}
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	_, err = fmt.Fprintf(ts.Stdout(), "%s\n%s", response.Status, body)
	ts.Check(err)
}

// deliver plays sessions of a provider into milter.sock, "deliver nordmail.example 3", or
// spoofs of it, "deliver spoof:nordmail.example 3". The file delivered is the last message.
func deliver(ts *testscript.TestScript, world *demo.World, args []string) {
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	domain, spoofed := strings.CutPrefix(args[0], "spoof:")
	n := slices.IndexFunc(world.Providers, func(p demo.Provider) bool { return p.Domain == domain })
	if n < 0 {
		ts.Fatalf("no provider is called %s", domain)
	}
	for i := range count {
		session, err := world.Honest(n, i)
		ts.Check(err)
		if spoofed {
			session = demo.Spoofs(1, domain)[0]
		}
		answer, err := session.Play("unix", ts.MkAbs("milter.sock"))
		ts.Check(err)
		text := strings.ReplaceAll(string(answer.Apply(session.Message.Data)), "\r\n", "\n")
		ts.Check(os.WriteFile(ts.MkAbs("delivered"), []byte(text), 0o644))
	}
}
