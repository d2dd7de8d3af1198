package main

import (
	"github.com/spf13/cobra"

	"nixmox/engine"
	"nixmox/engine/reference"
)

func (a *app) docCommand() *cobra.Command {
	var asJSON, markdown bool
	cmd := &cobra.Command{
		Use: "doc [MODULE[.FUNCTION] | FUNCTION]", Short: "Show what playbooks can call",
		ValidArgsFunction: completeDoc,
		Example:           "  nixmox doc vzdump\n  nixmox doc vzdump.backup\n  nixmox doc attempt",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("nixmox doc vzdump.backup", "one topic at a time")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := definitions()
			if err != nil {
				return err
			}
			topic := ""
			if len(args) == 1 {
				topic = args[0]
			}
			switch {
			case markdown:
				return reference.Markdown(a.stdout, e.Modules, engine.AtHand())
			case asJSON:
				return usage(reference.JSON(a.stdout, e.Modules, engine.AtHand(), topic), "nixmox doc")
			}
			width := styleFor(a.stdout).width
			if width == 0 || width > 100 {
				width = 80
			}
			return usage(reference.Text(a.stdout, e.Modules, engine.AtHand(), topic, width), "nixmox doc")
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, with schemas")
	cmd.Flags().BoolVar(&markdown, "markdown", false, "the whole reference as a Markdown page")
	return cmd
}
