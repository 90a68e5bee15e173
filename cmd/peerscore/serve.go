package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"peerscore/cmd/peerscore/config"
	"peerscore/cmd/peerscore/daemon"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: milter, background assessor, store",
		Long: `Run the daemon in the foreground. It starts without a configuration file, tells systemd
when it is ready, reloads what can change on SIGHUP, and on SIGTERM or SIGINT finishes the
messages at hand, commits and closes.`,
		Example: "  peerscore serve --config /etc/peerscore/peerscore.toml",
		Args:    takesNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			daemon.CollectLess()
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP) // first: it would end a daemon that is about to start
			defer signal.Stop(reload)
			level := &slog.LevelVar{}
			d, err := daemon.New(cmd.Context(), cfg, config.NewLogger(a.Err, cfg.Log, level), a.around)
			if err != nil {
				return status(err)
			}
			go func() {
				for range reload {
					d.Reload(a.config, level)
				}
			}()
			return status(d.Run(cmd.Context()))
		},
	}
}
