# Stand-ins for the three macros that the extension calls. What is not listed is not copied, as in the real ones.
include(CTest)

macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(THE "NO_INSTALL_SUBDIR" "TARGET_NAME;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  set(copied)
  foreach(name IN LISTS THE_SCRIPTS THE_RESOURCES)
    set(made "${THE_DESTINATION_DIR}/${name}")
    add_custom_command(
      OUTPUT "${made}"
      COMMAND ${CMAKE_COMMAND} -E copy "${CMAKE_CURRENT_SOURCE_DIR}/${name}" "${made}"
      DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}"
      )
    list(APPEND copied "${made}")
  endforeach()
  add_custom_target(${THE_TARGET_NAME} ALL DEPENDS ${copied})
  install(DIRECTORY "${THE_DESTINATION_DIR}/" DESTINATION "${THE_INSTALL_DIR}")
endmacro()

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown words: ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MODULE_NAME}
    SCRIPTS ${MODULE_SCRIPTS}
    RESOURCES ${MODULE_RESOURCES}
    DESTINATION_DIR "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}"
    INSTALL_DIR "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}"
    NO_INSTALL_SUBDIR
    )
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(UNIT "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${UNIT_SCRIPT}" AND NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${UNIT_SCRIPT}")
    message(FATAL_ERROR "there is no test ${UNIT_SCRIPT}")
  endif()
endmacro()
